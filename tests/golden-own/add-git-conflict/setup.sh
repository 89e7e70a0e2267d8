git init -q -b main "$GIT_ROOT/r" && cd "$GIT_ROOT/r"; echo 1 > 1; git add .; git commit -qm 1
