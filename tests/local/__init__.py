"""Tests of the local stack itself, and of template.yaml deployed to it, without any business rule."""
