"""What happens around training: callbacks, and several devices and machines."""
