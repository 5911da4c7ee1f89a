// libjpeg-turbo directly, though OpenCV decodes the other formats: OpenCV 4.6 fills the missing part of a truncated
// JPEG without an error, rounds CMYK differently from the reference and takes twice as long (it asks for BGR and
// copies). The bytes are those of OpenCV and Pillow, which call the same library with the same settings.
#include <csetjmp>
#include <cstddef>
#include <cstdio>
// jpeglib.h needs the above, jerror.h needs jpeglib.h.
// clang-format off
#include <jpeglib.h>
#include <jerror.h>
// clang-format on

#include "preprocess/decoders.h"

namespace vitower {
namespace {

// A progressive file may repeat its scans at will, each costing a pass over the picture; real ones have about ten.
constexpr int kMaxScans = 100;

struct ErrorState {
  jpeg_error_mgr manager;
  std::jmp_buf jump;
  char message[JMSG_LENGTH_MAX];
};

[[noreturn]] void FailWith(j_common_ptr info, const char* message) {
  auto* state = reinterpret_cast<ErrorState*>(info->err);
  std::snprintf(state->message, sizeof(state->message), "%s", message);
  std::longjmp(state->jump, 1);
}

[[noreturn]] void Fail(j_common_ptr info) {
  char message[JMSG_LENGTH_MAX];
  info->err->format_message(info, message);
  FailWith(info, message);
}

// libjpeg goes on after these and guesses what is missing. Its other warnings leave the picture whole.
void OnMessage(j_common_ptr info, int level) {
  if (level >= 0) return;
  switch (info->err->msg_code) {
    case JWRN_JPEG_EOF:
      FailWith(info, "the file is truncated");
    case JWRN_HIT_MARKER:
    case JWRN_HUFF_BAD_CODE:
    case JWRN_ARITH_BAD_CODE:
    case JWRN_MUST_RESYNC:
      FailWith(info, "the data is damaged or truncated");
    default:
      return;
  }
}

void OnProgress(j_common_ptr info) {
  const auto* decompress = reinterpret_cast<j_decompress_ptr>(info);
  if (decompress->input_scan_number <= kMaxScans) return;
  char message[32];
  std::snprintf(message, sizeof(message), "more than %d scans", kMaxScans);
  FailWith(info, message);
}

// One decompression. The functions with a setjmp hold no object with a destructor, so that a longjmp out of libjpeg
// skips none.
class Decompressor {
 public:
  Decompressor() {
    info_.err = jpeg_std_error(&errors_.manager);
    errors_.manager.error_exit = Fail;
    errors_.manager.emit_message = OnMessage;
    progress_.progress_monitor = OnProgress;
  }
  ~Decompressor() { jpeg_destroy_decompress(&info_); }
  Decompressor(const Decompressor&) = delete;
  Decompressor& operator=(const Decompressor&) = delete;

  bool ReadHeader(const uint8_t* bytes, size_t size) {
    if (setjmp(errors_.jump) != 0) return false;
    jpeg_create_decompress(&info_);
    info_.progress = &progress_;
    jpeg_mem_src(&info_, bytes, size);
    jpeg_read_header(&info_, TRUE);
    info_.out_color_space = is_cmyk() ? JCS_CMYK : JCS_RGB;
    return true;
  }

  // REQUIRES: ReadHeader was true; `rgb` has room for the picture; `cmyk_row` for a row of 4 bytes a pixel if is_cmyk.
  bool ReadPixels(uint8_t* rgb, uint8_t* cmyk_row) {
    if (setjmp(errors_.jump) != 0) return false;
    jpeg_start_decompress(&info_);
    const size_t stride = size_t{info_.output_width} * 3;
    while (info_.output_scanline < info_.output_height) {
      uint8_t* row = rgb + info_.output_scanline * stride;
      uint8_t* target = is_cmyk() ? cmyk_row : row;
      jpeg_read_scanlines(&info_, &target, 1);
      if (is_cmyk()) ConvertRow(cmyk_row, row);
    }
    jpeg_finish_decompress(&info_);
    return true;
  }

  bool is_cmyk() const { return info_.jpeg_color_space == JCS_CMYK || info_.jpeg_color_space == JCS_YCCK; }
  ImageSize size() const { return {.height = info_.image_height, .width = info_.image_width}; }
  const char* message() const { return errors_.message; }

 private:
  // Four-component files hold inverted inks (Adobe's convention, which the reference assumes for all of them), so the
  // stored values are 255 - c and 255 - k.
  void ConvertRow(const uint8_t* cmyk, uint8_t* rgb) const {
    for (size_t x = 0; x < info_.output_width; ++x) {
      for (size_t channel = 0; channel < 3; ++channel) {
        rgb[3 * x + channel] = static_cast<uint8_t>((cmyk[4 * x + channel] * cmyk[4 * x + 3] + 127) / 255);
      }
    }
  }

  ErrorState errors_{};
  jpeg_progress_mgr progress_{};
  jpeg_decompress_struct info_{};
};

}  // namespace

absl::StatusOr<RgbImage> DecodeJpeg(absl::Span<const uint8_t> bytes, const ImageHeader& header) {
  Decompressor decompressor;
  if (!decompressor.ReadHeader(bytes.data(), bytes.size())) return CannotDecode(header, decompressor.message());
  if (decompressor.size() != header.size) return WrongSize(header, decompressor.size());
  RgbImage image = BlankImage(header.size);
  std::vector<uint8_t> cmyk_row(decompressor.is_cmyk() ? static_cast<size_t>(header.size.width) * 4 : 0);
  if (!decompressor.ReadPixels(image.rgb.data(), cmyk_row.data())) return CannotDecode(header, decompressor.message());
  return image;
}

}  // namespace vitower
