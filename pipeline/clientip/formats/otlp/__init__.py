"""OTLP traces and logs, JSON and protobuf."""
