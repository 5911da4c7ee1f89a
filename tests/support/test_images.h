#pragma once

#include <cstdint>
#include <string>

namespace vitower {

struct Colour {
  uint8_t red = 0;
  uint8_t green = 0;
  uint8_t blue = 0;
};

// A BMP of one colour: what it decodes to is known without a decoder.
std::string SolidBmp(int64_t width, int64_t height, Colour colour);

// Nothing but a PNG's header, claiming any size.
std::string PngHeader(uint32_t width, uint32_t height);

}  // namespace vitower
