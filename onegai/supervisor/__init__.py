"""Who owns a service, and who may hold it?"""
