python3 - <<'E'
import tarfile, io
t = tarfile.open("a.tar", "w")
for d, m in ((b"1\n", 0o644), (b"2\n", 0o600)):
    i = tarfile.TarInfo("x"); i.size = len(d); i.mode = m; t.addfile(i, io.BytesIO(d))
t.close()
E
