module shmif.example/pingpong

go 1.19
