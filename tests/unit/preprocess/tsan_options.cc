// What ThreadSanitizer is told here: the first cv::imdecode registers GDAL's drivers (Debian's OpenCV links GDAL),
// which take their own locks in either order, on one thread.
extern "C" {

const char* __tsan_default_suppressions();
const char* __tsan_default_suppressions() { return "deadlock:libgdal\n"; }

}  // extern "C"
