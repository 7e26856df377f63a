"""What travels over the broker, and the only place where storage meets inference.

``feed`` → ``download`` → ``infer`` → ledger → ``write_shard``: the story of one video is in :mod:`tasks.pipeline`.
The Celery application is :mod:`tasks.celery`, where ``celery -A tasks`` finds it.
"""
