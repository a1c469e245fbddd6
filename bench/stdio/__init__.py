"""What `streamgauge exec` costs."""
