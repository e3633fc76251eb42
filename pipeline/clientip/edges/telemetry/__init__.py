"""What a worker says of itself: figures, health, log lines, OTLP."""
