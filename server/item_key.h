// private header
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "vitower/v1/vitower.pb.h"

namespace vitower {

using ItemKey = std::array<uint8_t, 32>;

// SHA-256 over everything that an item's answer is made of: its content, every option, and `model`, which names the
// weights. Empty `id` and `priority` first, which change nothing.
ItemKey KeyOf(const v1::Item& item, std::string_view model);

}  // namespace vitower
