"""What one process of a compiled program runs. This folder is copied beside the program.

Imports inside of it are relative, so that it is the same code in an output folder and in the installed package.
"""
