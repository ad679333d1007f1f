"""The commands of `python app.py`: what people and hosts type."""
