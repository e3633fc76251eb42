"""What `check` finds in servers' own configurations: each directive that breaks `lossless`, and none that does not."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from clientip.config.load import load
from clientip.edges.cli.check import check, report_text
from clientip.edges.cli.server_config import MAX_BYTES

HAPROXY = """
global
  log 127.0.0.1:514 local0
  log 127.0.0.1:514 local1 notice
defaults
  mode http
  timeout connect 1s
  timeout client 1s
  timeout server 1s
  option dontlognull      # a null connection of mode http reaches no server
  no option dontlog-normal
  log global
frontend quiet
  bind 127.0.0.1:8001
  option dontlog-normal   #!
  default_backend b
frontend silent
  bind 127.0.0.1:8002
  http-request set-log-level silent if { path_beg "/a b" }   #!
  # option dontlog-normal
  http-request set-header X "option dontlog-normal # no"
  default_backend b
backend b
  http-response set-log-level silent unless { status 200 }   #!
  tcp-response content set-log-level silent   #!
listen no
  bind 127.0.0.1:8003
  no log   #!
listen sampled
  bind 127.0.0.1:8004
  no log   #!
  log 127.0.0.1:514 len 4096 format raw sample 1:2 local0   #!
listen notice
  bind 127.0.0.1:8005
  no log   #!
  log 127.0.0.1:514 local0 notice   #!
"""
HAPROXY_TCP = """
defaults
  timeout connect 1s
  timeout client 1s
  timeout server 1s
  log 127.0.0.1:514 local0 info
listen null
  bind 127.0.0.1:8006
  option dontlognull   #!
"""
NGINX = """
events {}
http {
  log_format f '$remote_addr "$request" # access_log off;';
  map $status $loud { ~^5 1; default 0; }
  access_log logs/a.log f buffer=32k;
  server {
    listen 127.0.0.1:8001;
    # access_log off;
    set $x "access_log off;";
    mirror off;
    location /if { access_log logs/a.log f if=$loud; }   #!
    location = /off { access_log off; }   #!
    location /lines {
      access_log   #!
        logs/a.log f
        if=$loud;
    }
    location /mirror { mirror /copy; proxy_pass http://127.0.0.1:8002; }   #!
    location "/a b" { mirror_request_body off; access_log logs/${server_name}.log f; }
    location = /copy { internal; proxy_pass http://127.0.0.1:8003; }
  }
}
"""
APACHE = """
ServerName x
ErrorLog /dev/null
Listen 127.0.0.1:8001
LoadModule mpm_event_module /usr/lib/apache2/modules/mod_mpm_event.so
LoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so
LogFormat "%a env=x %r" f
CustomLog /dev/null f
# CustomLog /dev/null f env=x
CustomLog /dev/null "%a env=x"
CustomLog /dev/null f env=!quiet   #!
customlog /dev/null f \\   #!
  "expr=%{REQUEST_STATUS} -ge 500"
""".replace(" \\   #!", " \\").replace("env=!quiet   #!", "env=!quiet")
APACHE_LINES = [11, 12]
ENVOY = """
static_resources:
  listeners:
  - filter_chains:
    - filters:
      - name: hcm
        typed_config:
          access_log:
          - name: a
          - name: b
            filter: { status_code_filter: { comparison: { op: GE } } }   #!
          - { name: c, filter: { runtime_filter: { runtime_key: x } } }   #!
          http_filters: [ { name: router } ]
          route_config:
            routes:
            - route: { cluster: c, request_mirror_policies: [ { cluster: m } ] }   #!
            # filter: x
"""
ENVOY_JSON = """
{
  "access_log": [
    {
      "filter": {
        "not_health_check_filter": {}
      }
    }
  ],
  "filter": {}
}
"""
TRAEFIK = """
accessLog:
  format: json   # filters: no
  filters:   #!
    statusCodes: ["500-599"]
http:
  routers:
    r: { rule: "Path(`/`)", service: s, observability: { accessLogs: false } }   #!
    loud:
      observability:
        accessLogs: true
    quiet:
      observability:
        accessLogs: false   #!
  services:
    m:
      mirroring:
        service: s
        mirrors:   #!
        - name: t
"""
TRAEFIK_TOML = """
[accessLog]
  format = "json"
[accessLog.filters]   #!
  statusCodes = ["500-599"]
[http.routers.q.observability]
  accessLogs = false   #!
"""
CADDY = """
example.com {
  log {
    output file /tmp/a.log
    sampling {   #!
      first 1
    }
  }
  log_skip /static*   #!
  respond "log_skip"
}
"""
SERVERS = [
    ("haproxy", "a.cfg", HAPROXY, None),
    ("haproxy", "a.cfg", HAPROXY_TCP, None),
    ("nginx", "a.conf", NGINX, None),
    ("apache", "a.conf", APACHE, APACHE_LINES),
    ("envoy_json", "a.yaml", ENVOY, None),
    ("envoy_text", "a.json", ENVOY_JSON, [5]),
    ("traefik_json", "a.yml", TRAEFIK, None),
    ("traefik_clf", "a.toml", TRAEFIK_TOML, None),
    ("caddy", "Caddyfile", CADDY, None),
]
PATTERNS = {"nginx": "$remote_addr $status", "apache": "%a %>s", "haproxy": "tcplog"}


def marked(text: str) -> list[int]:
    return [number for number, line in enumerate(text.split("\n"), 1) if line.endswith("#!")]


def reported(folder: Path, kind: str, server: str, *, more: str = "lossless = true") -> tuple[int, list[str]]:
    pattern = f"pattern = '{PATTERNS[kind]}'\n" if kind in PATTERNS else ""
    (folder / "c.toml").write_text(
        f'[systems.lb]\nformat = "{kind}"\nlogs_peer = "socket"\npeers = ["outside"]\ntimezone = "UTC"\n'
        f'{pattern}server_config = ["{server}"]\n{more}\n'
    )
    report = check(load([folder / "c.toml"]))
    return report.code, [line for line in report_text(report).splitlines() if line.startswith("lb: /")]


@pytest.mark.parametrize(("kind", "name", "text", "lines"), SERVERS)
def test_every_directive_that_breaks_the_word_is_named_with_file_and_line_and_no_other(
    kind: str, name: str, text: str, lines: list[int] | None, tmp_path: Path
) -> None:
    (tmp_path / name).write_text(text)
    code, found = reported(tmp_path, kind, name)
    at = [int(line.split(", line ")[1].split(":")[0]) for line in found]
    assert (code, sorted(set(at))) == (1, marked(text) if lines is None else lines)
    assert all(line.startswith(f"lb: {tmp_path / name}, line ") and "lossless" in line for line in found)


@pytest.mark.parametrize(("kind", "name", "text", "lines"), SERVERS)
def test_a_configuration_without_these_directives_or_without_the_word_is_sound(
    kind: str, name: str, text: str, lines: list[int] | None, tmp_path: Path
) -> None:
    (tmp_path / name).write_text(text)
    assert reported(tmp_path, kind, name, more="") == (0, [])
    kept = [] if lines is not None else [line for line in text.split("\n") if not line.endswith("#!")]
    (tmp_path / name).write_text("\n".join(kept))
    assert reported(tmp_path, kind, name) == (0, [])


def test_nginx_that_lets_underscores_pass_must_be_drawn_so(tmp_path: Path) -> None:
    (tmp_path / "a.conf").write_text("http {\n underscores_in_headers on;\n}")
    code, [line] = reported(tmp_path, "nginx", "a.conf", more="")
    assert (code, ", line 2: underscores_in_headers on: " in line) == (1, True)
    assert reported(tmp_path, "nginx", "a.conf", more="drops_underscores = false") == (0, [])


@pytest.mark.parametrize("name", ["away.cfg", "away/*.cfg", "."])
def test_what_cannot_be_read_is_told(name: str, tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text("")
    assert reported(tmp_path, "haproxy", name)[0] == 1


def test_a_file_past_the_bound_is_told_and_not_read(tmp_path: Path) -> None:
    (tmp_path / "a.cfg").write_text("option dontlog-normal\n" + "#" * MAX_BYTES)
    code, [line] = reported(tmp_path, "haproxy", "a.cfg")
    assert (code, "was not read" in line) == (1, True)


def test_patterns_find_all_files_of_a_server(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.cfg").write_text("no log")
    assert len(reported(tmp_path, "haproxy", "*.cfg")[1]) == 2


def test_a_format_of_which_no_directive_is_known_is_told(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text(
        '[systems.v]\nformat = "varnish"\nlogs_peer = "socket"\npeers = ["outside"]\nserver_config = ["a"]\n'
    )
    assert any(line.startswith("v: no directive of this format") for line in check(load([tmp_path / "c.toml"])).servers)


def test_the_servers_configuration_decides_about_no_record(tmp_path: Path) -> None:
    text = '[systems.lb]\nformat = "traefik_json"\nlogs_peer = "socket"\npeers = ["outside"]\n'
    (tmp_path / "a.toml").write_text(text)
    (tmp_path / "b.toml").write_text(text + 'server_config = ["away"]\n')
    one, other = load([tmp_path / "a.toml"]), load([tmp_path / "b.toml"])
    assert (one.rules, one.topology, one.digest) == (other.rules, other.topology, other.digest)


CALLS = [
    (HAPROXY, ["haproxy", "-c", "-f", "{}"]),
    (HAPROXY_TCP, ["haproxy", "-c", "-f", "{}"]),
    (NGINX, ["nginx", "-t", "-c", "{}", "-p"]),
    (APACHE, ["apache2", "-t", "-f", "{}"]),
]


@pytest.mark.edge
@pytest.mark.parametrize(("text", "call"), CALLS)
def test_the_servers_themselves_accept_what_these_tests_read(text: str, call: list[str], tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "a.conf").write_text(text)
    written = [word.format(tmp_path / "a.conf") for word in call] + ([str(tmp_path)] if call[-1] == "-p" else [])
    done = subprocess.run(written, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
