-- the textbook: a lock ends by its time
return 1
