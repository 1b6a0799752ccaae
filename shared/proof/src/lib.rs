//! What a device can prove: envelopes, SenML, summaries, daily blocks, and the rules that compare them
