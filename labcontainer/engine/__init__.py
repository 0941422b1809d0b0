"""Many containers, remembered; today one in the foreground, and nothing remembered."""
