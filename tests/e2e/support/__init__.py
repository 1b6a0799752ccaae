"""What the end-to-end tests share: devices, the four parties, a proxy that injects faults, and looks into the stores."""
