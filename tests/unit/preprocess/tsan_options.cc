// What ThreadSanitizer is told here: the first cv::imdecode registers GDAL's drivers (Debian's OpenCV links GDAL),
// which take their own locks in either order, on one thread. absl counts who shares a Status in its library, which is
// not instrumented.
extern "C" {

const char* __tsan_default_suppressions();
const char* __tsan_default_suppressions() { return "deadlock:libgdal\nrace:Status::Unref\n"; }

}  // extern "C"
