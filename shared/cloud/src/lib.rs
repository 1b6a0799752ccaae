//! AWS adapters: time series, device registry, days, archive, queues, metrics
