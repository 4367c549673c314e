"""How does one speak to a OneGAI over HTTP?"""
