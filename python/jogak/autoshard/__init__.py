"""From a program and a machine to the sharding of everything: strategies, their costs, and the problem to solve."""
