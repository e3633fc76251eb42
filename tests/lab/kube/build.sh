#!/bin/bash
# build.sh [OUT] [PROGRAM...]: builds Kubernetes' own programs from Go modules into OUT.
#
# There is no registry of binaries in this lab: the module proxy has the sources, so the real API server, kube-proxy and kubelet are compiled. Each
# program is a ten-line `main` of ours around the command that upstream's main runs. Cold: some eleven minutes on two cores; built once: nothing.
# OUT defaults to a cache folder outside the repository (CLIENTIP_KUBE, or the user's cache folder). Needs: go.
set -euo pipefail
version=${KUBE_VERSION:-1.34.4}
out=$(realpath -m "${1:-${CLIENTIP_KUBE:-${XDG_CACHE_HOME:-$HOME/.cache}/clientip-lab/kube-$version}}")
shift || true
# The order is that of need: the first three are all that recording rules takes.
[ $# -gt 0 ] || set -- kube-apiserver kube-proxy kubectl kube-controller-manager kube-scheduler kubelet
mkdir -p "$out/src"
exec 9> "$out/.lock"
flock 9

command_of() { # PROGRAM: the import line and the constructor of its command
  case $1 in
    kubectl) echo 'app "k8s.io/kubectl/pkg/cmd"|app.NewDefaultKubectlCommand()' ;;
    kubelet) echo '"k8s.io/kubernetes/cmd/kubelet/app"|app.NewKubeletCommand(context.Background())' ;;
    kube-apiserver) echo '"k8s.io/kubernetes/cmd/kube-apiserver/app"|app.NewAPIServerCommand()' ;;
    kube-proxy) echo '"k8s.io/kubernetes/cmd/kube-proxy/app"|app.NewProxyCommand()' ;;
    kube-scheduler) echo '"k8s.io/kubernetes/cmd/kube-scheduler/app"|app.NewSchedulerCommand()' ;;
    kube-controller-manager) echo '"k8s.io/kubernetes/cmd/kube-controller-manager/app"|app.NewControllerManagerCommand()' ;;
    *) echo "build.sh: unknown program $1" >&2; return 1 ;;
  esac
}

write_main() { # PROGRAM
  local line; line=$(command_of "$1"); mkdir -p "$1"
  {
    printf 'package main\n\nimport (\n'
    [ "$1" != kubelet ] || printf '\t"context"\n'
    printf '\t"os"\n\n\t%s\n' "${line%%|*}"
    printf '\t"k8s.io/component-base/cli"\n\t_ "k8s.io/component-base/logs/json/register"\n)\n\nfunc main() { os.Exit(cli.Run(%s)) }\n' "${line##*|}"
  } > "$1/main.go"
}

write_module() { # k8s.io/kubernetes names its sister modules by relative paths; each is replaced by its release, v0.34.4 for v1.34.4
  local upstream
  upstream=$(go mod download -json "k8s.io/kubernetes@v$version" | sed -n 's/.*"GoMod": "\(.*\)".*/\1/p')
  {
    printf 'module clientip/lab/kube\n\ngo 1.24.0\n\nrequire k8s.io/kubernetes v%s\n\nreplace (\n' "$version"
    sed -nE "s#^[[:space:]]*(k8s\.io/[^ ]+) => \./staging.*#\t\1 => \1 v0.${version#1.}#p" "$upstream"
    printf ')\n'
  } > go.mod
}

missing=()
for program in "$@"; do
  command_of "$program" > /dev/null
  [ -x "$out/$program" ] || missing+=("$program")
done
[ ${#missing[@]} -gt 0 ] || exit 0
cd "$out/src"
[ -f go.mod ] || write_module
minor=${version#1.}
stamp="-s -w -X k8s.io/component-base/version.gitVersion=v$version"
stamp+=" -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=${minor%%.*}"
for program in "${missing[@]}"; do
  write_main "$program"
  CGO_ENABLED=0 go build -mod=mod -trimpath -ldflags "$stamp" -o "$out/$program.new" "./$program"
  mv "$out/$program.new" "$out/$program" # whole or not there at all: an interrupted build leaves nothing that looks built
  echo "built $program $version after $SECONDS s" >&2
done
