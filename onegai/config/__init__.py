"""What did the user write, where does it lie, what is in effect?"""
