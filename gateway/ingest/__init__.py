"""Takes events in from outside and makes them durable on one leg before the sender is told so."""
