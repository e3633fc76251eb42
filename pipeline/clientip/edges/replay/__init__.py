"""Batch: plan, workers, stages with joins, summary; out of Kafka and into it."""
