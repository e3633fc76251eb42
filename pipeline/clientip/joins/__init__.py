"""Facts and questions under one key to answers."""
