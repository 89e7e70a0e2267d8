python3 - <<'E'
import tarfile, io
t = tarfile.open("a.tar", "w")
def add(n, d=None):
    i = tarfile.TarInfo(n)
    i.mode = 0o644 if d is not None else 0o755
    i.type = tarfile.REGTYPE if d is not None else tarfile.DIRTYPE
    i.size = len(d or b""); t.addfile(i, io.BytesIO(d or b""))
add("x"); add("x/deep"); add("x/deep/f", b"1"); add("x", b"f"); add("y", b"1"); add("y"); add("y/in", b"i")
t.close()
E
