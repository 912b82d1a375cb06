"""Triton kernels for a GPU; TRITON.md describes them. Modules here import the library as `import triton`."""
