// private header
#pragma once

#include <grpcpp/grpcpp.h>

#include "server/gate.h"
#include "server/rpc.h"
#include "vitower/v1/vitower.grpc.pb.h"

namespace vitower {

// The RPCs: from bytes to a Call and back. Embed and EmbedStream are raw, so that parsing and serialising are ours to
// measure and copy nothing twice. A call that the gate refuses ends before
// anything is done for it. Handlers do not block. Thread-safe.
class EmbedService final
    : public v1::VisionEmbedder::WithRawCallbackMethod_Embed<v1::VisionEmbedder::WithRawCallbackMethod_EmbedStream<
          v1::VisionEmbedder::WithCallbackMethod_GetModelInfo<v1::VisionEmbedder::Service>>> {
 public:
  EmbedService(v1::ModelInfo model_info, const Gate& gate, Lifecycle& lifecycle, Metrics& metrics, Tracer& tracer,
               Clock& clock, StallWatch& stalls)
      : gate_(gate), rpc_{std::move(model_info), lifecycle, metrics, tracer, clock, stalls} {}

  // Before the state is kServing. `pipeline` must outlive the service's last call.
  void SetPipeline(Pipeline* pipeline) { rpc_.pipeline = pipeline; }

  grpc::ServerUnaryReactor* Embed(grpc::CallbackServerContext* context, const grpc::ByteBuffer* request,
                                  grpc::ByteBuffer* reply) override;
  grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* EmbedStream(
      grpc::CallbackServerContext* context) override;
  grpc::ServerUnaryReactor* GetModelInfo(grpc::CallbackServerContext* context, const v1::GetModelInfoRequest* request,
                                         v1::ModelInfo* reply) override;

 private:
  const Gate& gate_;
  Rpc rpc_;
};

}  // namespace vitower
