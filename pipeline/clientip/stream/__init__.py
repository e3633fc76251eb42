"""Messages of the join topic to departures: watermarks, fact store, checkpoint."""
