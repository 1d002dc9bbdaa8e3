"""PP-OCRv4 in torch, its weights, the page reader, the model store, gates and roll-out."""
