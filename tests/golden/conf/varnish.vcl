vcl 4.1;
backend app { .host = "10.0.2.20"; .port = "9000"; }
sub vcl_recv { return (pass); }
