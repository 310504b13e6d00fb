"""Reads both legs, and turns batches of events into one transaction each: facts, decide, apply."""
