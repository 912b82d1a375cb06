"""Weights on their way between processes: buckets, what is in them, and how they travel. No vLLM, no Megatron-core.

The learner's side sends (`transport.py`), each worker of an engine receives (`receiver.py`). Five ways do the same:
shared memory for processes of one machine and CUDA IPC for those of one GPU, gloo between machines and NCCL between
GPUs, and files, which are slow, can be looked at and can be read by any other engine.
"""
