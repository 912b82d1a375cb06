"""Weights on their way between processes: buckets, what is in them, and how they travel. No vLLM, no Megatron-core.

The learner's side sends (`transport.py`), each worker of an engine receives (`receiver.py`). Three ways do the same:
shared memory for processes of one machine, gloo between machines, and files, which are slow, can be looked at and can
be read by any other engine.
"""
