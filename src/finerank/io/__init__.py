"""Files and streams: text in any encoding, JSON lines, and output that is never half written."""
