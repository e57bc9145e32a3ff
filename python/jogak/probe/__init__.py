"""`jogak machine probe`: how fast this machine is when all ranks work at once, as a machine file."""
