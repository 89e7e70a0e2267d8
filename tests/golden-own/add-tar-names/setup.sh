python3 - <<'E'
import tarfile, io
t = tarfile.open("a.tar", "w")
def add(n, d):
    i = tarfile.TarInfo(n); i.size = len(d); i.mode = 0o644; t.addfile(i, io.BytesIO(d))
add("./1", b"1\n"); add("d//./2", b"2\n"); add("x/../...", b"3\n")
t.close()
E
