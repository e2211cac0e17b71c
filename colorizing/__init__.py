"""From a gray photo or film to a coloured one, with any trained model."""
