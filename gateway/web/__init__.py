"""The web page: Flask for what people look at, mounted beside the routes that programs ask."""
