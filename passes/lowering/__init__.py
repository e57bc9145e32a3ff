"""Passes that rewrite a program for the compiler of a target."""
