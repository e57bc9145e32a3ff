"""Files that are copied beside a generated program: they import torch and safetensors, and nothing of Jogak."""
