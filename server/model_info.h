// private header
#pragma once

#include <string>

#include "model/encoder.h"
#include "server/server.h"
#include "vitower/v1/vitower.pb.h"

namespace vitower {

// What GetModelInfo answers.
v1::ModelInfo DescribeModel(const EncoderInfo& info, const std::string& devices, const ServerOptions& options);

}  // namespace vitower
