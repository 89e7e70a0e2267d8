# Makes the program say where it was built.
sed -i 's/"Hello, world!"/"Hello from Yadokari!"/' hello-*/src/hello.c
