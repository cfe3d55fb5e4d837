// A dot per nucleus, while outlines would be too small: a layer of the map that draws nuclei.bin as it is.

// `colours` is their number: class ids begin with 1.
const vertexOf = (colours) => `#version 300 es
in float x, y, kind, prob;
uniform mat4 matrix;
uniform float world, diameter, least;
uniform vec4 colours[${colours}];
out vec4 colour;
void main() {
  colour = colours[int(kind)];
  gl_Position = matrix * vec4(x / world, y / world, 0, 1);
  gl_PointSize = diameter;
  if (prob < least || colour.a == 0.0) gl_Position = vec4(2, 2, 2, 1); // beyond the view
}`;
const FRAGMENT = `#version 300 es
precision highp float;
in vec4 colour;
uniform float diameter;
out vec4 result;
void main() {
  float edge = 0.5 * diameter - diameter * length(gl_PointCoord - 0.5);
  result = colour * clamp(edge + 0.5, 0.0, 1.0);
}`;

export class Dots {
  constructor(nuclei, world) {
    Object.assign(this, { nuclei, world, id: "dots", type: "custom" });
    this.colours = new Float32Array(4 * (1 + nuclei.classes));
    this.least = this.diameter = 0;
  }

  // `colours` are RGB by the ids of the classes that are shown.
  paint(colours, least, opacity) {
    this.colours.fill(0);
    for (const [id, rgb] of Object.entries(colours)) {
      this.colours.set([...rgb.map((value) => (value / 255) * opacity), opacity], 4 * id);
    }
    this.least = least;
  }

  onAdd(map, gl) {
    this.program = gl.createProgram();
    for (const [type, text] of [[gl.VERTEX_SHADER, vertexOf(this.colours.length / 4)], [gl.FRAGMENT_SHADER, FRAGMENT]]) {
      const shader = gl.createShader(type);
      gl.shaderSource(shader, text);
      gl.compileShader(shader);
      gl.attachShader(this.program, shader);
    }
    gl.linkProgram(this.program);
    this.columns = gl.createVertexArray();
    gl.bindVertexArray(this.columns);
    gl.bindBuffer(gl.ARRAY_BUFFER, gl.createBuffer());
    gl.bufferData(gl.ARRAY_BUFFER, this.nuclei.buffer, gl.STATIC_DRAW);
    const n = this.nuclei.length;
    for (const [name, type, offset] of [["x", gl.FLOAT, 0], ["y", gl.FLOAT, 4 * n],
      ["kind", gl.UNSIGNED_BYTE, 10 * n], ["prob", gl.UNSIGNED_BYTE, 11 * n]]) {
      const place = gl.getAttribLocation(this.program, name);
      gl.enableVertexAttribArray(place);
      gl.vertexAttribPointer(place, 1, type, false, 0, offset);
    }
    gl.bindVertexArray(null);
  }

  render(gl, { defaultProjectionData }) {
    if (!this.diameter) return;
    gl.useProgram(this.program);
    const at = (name) => gl.getUniformLocation(this.program, name);
    gl.uniformMatrix4fv(at("matrix"), false, defaultProjectionData.mainMatrix);
    gl.uniform1f(at("world"), this.world);
    gl.uniform1f(at("diameter"), this.diameter * devicePixelRatio);
    gl.uniform1f(at("least"), this.least);
    gl.uniform4fv(at("colours"), this.colours);
    gl.enable(gl.BLEND);
    gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
    gl.disable(gl.DEPTH_TEST);
    gl.bindVertexArray(this.columns);
    gl.drawArrays(gl.POINTS, 0, this.nuclei.length);
    gl.bindVertexArray(null);
  }
}
