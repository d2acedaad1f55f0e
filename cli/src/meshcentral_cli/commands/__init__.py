"""One module per noun. Each has `app`; it is imported only when its noun is used."""
