"""The embedded tower: pictures in the space of the default text model, without a download."""
