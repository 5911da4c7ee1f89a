// An encoded image, from its first byte to frames for the tower.
#include "preprocess/image.h"
#include "tests/fuzz/expect.h"

namespace vitower {
namespace {

constexpr int64_t kMaxPixels = 1 << 18;

ImageOptions OptionsFrom(uint8_t choice) {
  ImageOptions options;
  options.apply_exif = (choice & 1) != 0;
  if ((choice & 2) != 0) options.background = {0, 127, 255};
  options.do_resize = (choice & 4) == 0;
  options.min_pixels = 1 << 10;
  options.max_pixels = 1 << 16;
  return options;
}

void Run(absl::Span<const uint8_t> bytes, const ImageOptions& options) {
  const absl::StatusOr<ImageHeader> header = ProbeImage(bytes, kMaxPixels);
  if (IsRefusal(header)) return;
  Expect(header->size.height > 0 && header->size.width > 0, "a size is positive");
  Expect(header->size.height * header->size.width <= kMaxPixels, "the limit on pixels holds");
  const absl::StatusOr<ImageSize> target = TargetSize(*header, options);
  if (IsRefusal(target)) return;
  absl::StatusOr<RgbImage> image = DecodeImage(bytes, *header, options);
  if (IsRefusal(image)) return;
  Expect(static_cast<int64_t>(image->rgb.size()) == 3 * image->size.height * image->size.width, "every pixel is there");
  const absl::StatusOr<Frames> frames = ResizeToFrames(*std::move(image), *target, options);
  if (IsRefusal(frames)) return;
  Expect(frames->height == target->height && frames->width == target->width, "the target size is met");
  Expect(frames->grid == GridThw{1, target->height / 16, target->width / 16}, "the grid is that of the size");
  Expect(static_cast<int64_t>(frames->rgb.size()) == 3 * frames->height * frames->width, "every pixel is there");
}

}  // namespace
}  // namespace vitower

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  // The whole input is the file, so that a corpus holds files that other programs open; its last byte chooses options.
  vitower::Run({data, size}, vitower::OptionsFrom(size == 0 ? 0 : data[size - 1]));
  return 0;
}
