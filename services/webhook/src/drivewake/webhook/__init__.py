"""The service that receives Drive push notifications and keeps watch channels alive."""
