"""Where samples may come from: a module each, which params name as `data.source`."""
